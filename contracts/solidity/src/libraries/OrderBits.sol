// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

import {IEnergyTrading} from "../interfaces/IEnergyTrading.sol";

/// @title An order in one storage slot.
/// @notice
///     bits     field       what
///     0 – 29   amountWh    as created; at most 1,000,000,000 Wh
///    30 – 59   filledWh    what matches have taken of it; never more than the amount
///    60 – 76   price       in ticks of 100 micro-currency per kWh; at most 100,000 of them
///    77 – 139  expiryS     UTC seconds; below 2**63, as all times of bids are
///   140        side        0 buy, 1 sell
///   141 – 142  status      0 active, 1 filled, 2 cancelled
///   143 – 182  interval    the quarter-hour the order is forced into
///   183 – 222  closedAtS   when it was first matched here or cancelled; zero while it stands in the auctions
///   223 – 252  paidWh      what of the filled amount was paid for; kept for sellers only, never more than filled
///   253        isReturned  1 once the escrow of what is open was returned
///   254 – 255              zero
/// A word of zero is no order, because every order has an amount.
library OrderBits {
    /// @notice The fields of an order.
    struct Fields {
        uint256 amountWh;
        uint256 filledWh;
        uint256 price;
        uint256 expiryS;
        IEnergyTrading.OrderType side;
        IEnergyTrading.OrderStatus status;
        uint256 interval;
        uint256 closedAtS;
        uint256 paidWh;
        bool isReturned;
    }

    /// @notice The tick of all limits, in micro-currency per kWh.
    uint256 internal constant PRICE_TICK = 100;

    uint256 private constant FILLED_AT = 30;
    uint256 private constant PRICE_AT = 60;
    uint256 private constant EXPIRY_AT = 77;
    uint256 private constant SIDE_AT = 140;
    uint256 private constant STATUS_AT = 141;
    uint256 private constant INTERVAL_AT = 143;
    uint256 private constant CLOSED_AT = 183;
    uint256 private constant PAID_AT = 223;
    uint256 private constant RETURNED_AT = 253;

    /// @notice The word of an order whose fields keep the bounds above.
    function pack(Fields memory order) internal pure returns (uint256) {
        return order.amountWh | (order.filledWh << FILLED_AT) | ((order.price / PRICE_TICK) << PRICE_AT)
            | (order.expiryS << EXPIRY_AT) | (uint256(order.side) << SIDE_AT) | (uint256(order.status) << STATUS_AT)
            | (order.interval << INTERVAL_AT) | (order.closedAtS << CLOSED_AT) | (order.paidWh << PAID_AT)
            | (order.isReturned ? 1 << RETURNED_AT : 0);
    }

    /// @notice The fields of a word that `pack` gave.
    function unpack(uint256 word) internal pure returns (Fields memory order) {
        order.amountWh = _bits(word, 0, FILLED_AT);
        order.filledWh = _bits(word, FILLED_AT, PRICE_AT);
        order.price = _bits(word, PRICE_AT, EXPIRY_AT) * PRICE_TICK;
        order.expiryS = _bits(word, EXPIRY_AT, SIDE_AT);
        order.side = IEnergyTrading.OrderType(_bits(word, SIDE_AT, STATUS_AT));
        order.status = IEnergyTrading.OrderStatus(_bits(word, STATUS_AT, INTERVAL_AT));
        order.interval = _bits(word, INTERVAL_AT, CLOSED_AT);
        order.closedAtS = _bits(word, CLOSED_AT, PAID_AT);
        order.paidWh = _bits(word, PAID_AT, RETURNED_AT);
        order.isReturned = word >> RETURNED_AT != 0;
    }

    function _bits(uint256 word, uint256 from, uint256 to) private pure returns (uint256) {
        return (word >> from) & ((1 << (to - from)) - 1);
    }
}

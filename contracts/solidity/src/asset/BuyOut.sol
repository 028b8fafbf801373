// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

import {EnergyAssetNFT} from "../EnergyAssetNFT.sol";
import {Dividends} from "./Dividends.sol";

/// @title Buying a shared asset whole: one price for every share, and who names it must also sell at it.
/// @notice
///     offer      the bidder names a price and puts it in escrow for every share he does not hold; his own are locked
///     accept     until `acceptUntilS`: holders sell him shares at the price, paid at once; a sale is a sale
///     outbid     an offer at least 5 % higher takes the place of one that is not decided
///     counter    until `decidesAtS`: anybody buys shares of the bidder's at the same price
///     complete   after that, if he holds the quorum: the asset is his, and what others still hold is worth the price
///     close      if he does not: the escrow is his again; he keeps what he bought
///     surrender  shares left after a sale become money of their holder, by anybody, at any time
/// A holder of the quorum, openly or through a second account, could otherwise name any price, accept it himself and
/// drive the rest out. Here everybody has a whole period, after the last acceptance, to buy his shares at that price or
/// to pay more. So while an offer stands, shares reach or leave the bidder by `accept` and `counter` only, and
///     escrow = price · (shares - shares of the bidder)
/// holds always: whoever still holds a share is covered.
abstract contract BuyOut is Dividends {
    /// @notice Whole: no shares. Shared: shares stand for the asset. Sold: shares left stand for the price.
    enum Stage {
        WHOLE,
        SHARED,
        SOLD
    }

    /// @notice How an asset is shared: shares that a bidder must hold, and what a share was sold for.
    struct Sharing {
        Stage stage;
        uint128 quorumShares;
        uint128 soldPrice;
    }

    /// @notice An offer; `number` is zero where there is none.
    struct Offer {
        address bidder;
        uint64 number;
        uint128 price;
        uint64 acceptUntilS;
        uint64 decidesAtS;
        uint128 escrow;
    }

    /// @notice How much more than the standing offer another must be, in hundredths of a percent.
    uint256 public constant RAISE_BPS = 500;
    uint256 private constant ALL_BPS = 10_000;

    /// @notice `bidder` offers `price` base units a share.
    event Offered(
        uint256 indexed id, uint64 indexed number, address indexed bidder, uint128 price, uint64 acceptUntilS
    );
    /// @notice `seller` sold `shares` to the bidder.
    event Accepted(uint256 indexed id, uint64 indexed number, address indexed seller, uint256 shares);
    /// @notice `buyer` bought `shares` of the bidder's.
    event Countered(uint256 indexed id, uint64 indexed number, address indexed buyer, uint256 shares);
    /// @notice The offer is over without a sale of the asset.
    event Closed(uint256 indexed id, uint64 indexed number);
    /// @notice The asset is the bidder's; `left` shares of others are worth the price.
    event Completed(uint256 indexed id, uint64 indexed number, address indexed bidder, uint256 left);
    /// @notice `shares` of `holder` became money.
    event Surrendered(uint256 indexed id, address indexed holder, uint256 shares);

    /// @notice No period, or one without end.
    error WrongPeriod(uint64 periodS);
    /// @notice Shares are not to be had for nothing.
    error NoPrice();
    /// @notice The price must be at least that.
    error PriceTooLow(uint256 leastPrice);
    /// @notice There is no offer of that number.
    error NoSuchOffer(uint256 id, uint64 number);
    /// @notice The time for that is over, or the quorum was missed.
    error TooLate(uint64 number);
    /// @notice The offer is not decided, or decided otherwise.
    error NotDecided(uint64 number);
    /// @notice A bidder does not deal with himself.
    error IsBidder(address bidder);
    /// @notice Shares of a bidder are locked while his offer stands, and he gets none but by it.
    error BidderLocked(uint256 id, address bidder);
    /// @notice The asset was not sold, or the holder has no shares of it.
    error NothingToSurrender(uint256 id, address holder);

    /// @notice The assets that are shared.
    EnergyAssetNFT public immutable assets;
    /// @notice How long an offer can be accepted, and again how long it can then be countered.
    uint64 public immutable offerPeriodS;

    mapping(uint256 id => Sharing sharing) internal _sharings;
    mapping(uint256 id => Offer current) private _offers;
    uint64 private _offerCount;

    constructor(EnergyAssetNFT assets_, uint64 offerPeriodS_) {
        if (offerPeriodS_ == 0 || offerPeriodS_ > 365 days) revert WrongPeriod(offerPeriodS_);
        assets = assets_;
        offerPeriodS = offerPeriodS_;
    }

    /// @notice Offers `price` base units for every share of an asset, from the caller's token allowance.
    function offer(uint256 id, uint128 price) external returns (uint64 number) {
        if (_sharings[id].stage != Stage.SHARED) revert NotShared(id);
        if (price == 0) revert NoPrice();
        Offer memory standing = _offers[id];
        if (standing.number != 0) {
            if (!_isMissed(id, standing)) {
                if (block.timestamp >= standing.decidesAtS) revert TooLate(standing.number);
                uint256 leastPrice = (standing.price * (ALL_BPS + RAISE_BPS) + ALL_BPS - 1) / ALL_BPS;
                if (price < leastPrice) revert PriceTooLow(leastPrice);
            }
            _close(id, standing);
        }

        number = ++_offerCount;
        uint64 acceptUntilS = uint64(block.timestamp) + offerPeriodS;
        uint128 escrow = _units(uint256(price) * (sharesOf(id) - balanceOf(msg.sender, id)));
        _offers[id] = Offer(msg.sender, number, price, acceptUntilS, acceptUntilS + offerPeriodS, escrow);

        emit Offered(id, number, msg.sender, price, acceptUntilS);
        _pull(escrow);
    }

    /// @notice Sells `shares` of the caller's to the bidder. The number makes sure of the price.
    function accept(uint256 id, uint64 number, uint128 shares) external {
        Offer memory standing = _standing(id, number);
        if (block.timestamp >= standing.acceptUntilS) revert TooLate(number);
        if (msg.sender == standing.bidder) revert IsBidder(msg.sender);

        // A caller without so many shares fails at the move; with them the escrow covers them.
        _move(msg.sender, standing.bidder, id, shares);
        uint128 cost = standing.price * shares;
        _offers[id].escrow = standing.escrow - cost;

        emit Accepted(id, number, msg.sender, shares);
        _push(msg.sender, cost);
    }

    /// @notice Buys `shares` of the bidder's at his own price, from the caller's token allowance.
    function counter(uint256 id, uint64 number, uint128 shares) external {
        Offer memory standing = _standing(id, number);
        if (block.timestamp >= standing.decidesAtS || _isMissed(id, standing)) revert TooLate(number);
        if (msg.sender == standing.bidder) revert IsBidder(msg.sender);

        _move(standing.bidder, msg.sender, id, shares);
        uint128 cost = _units(uint256(standing.price) * shares);
        _offers[id].escrow = standing.escrow + cost;

        emit Countered(id, number, msg.sender, shares);
        _pull(cost);
    }

    /// @notice Gives the asset to the bidder who holds the quorum when all time is over. By anybody.
    function complete(uint256 id) external {
        Offer memory standing = _offers[id];
        if (standing.number == 0) revert NoSuchOffer(id, 0);
        if (block.timestamp < standing.decidesAtS || _isMissed(id, standing)) revert NotDecided(standing.number);

        delete _offers[id];
        _move(standing.bidder, address(0), id, balanceOf(standing.bidder, id));
        uint256 left = sharesOf(id);
        _sharings[id].stage = Stage.SOLD;
        _sharings[id].soldPrice = standing.price;
        if (left == 0) delete _sharings[id];

        emit Completed(id, standing.number, standing.bidder, left);
        // Without asking the receiver: he asked for it himself.
        assets.transferFrom(address(this), standing.bidder, id);
    }

    /// @notice Ends an offer that missed its quorum: the escrow is the bidder's to claim. By anybody.
    function close(uint256 id) external {
        Offer memory standing = _offers[id];
        if (standing.number == 0) revert NoSuchOffer(id, 0);
        if (!_isMissed(id, standing)) revert NotDecided(standing.number);
        _close(id, standing);
    }

    /// @notice Makes the shares that `holder` has left of a sold asset his money, to be claimed. By anybody, so that
    /// no holder who stays away keeps the asset from being shared again.
    function surrender(uint256 id, address holder) external {
        uint256 shares = balanceOf(holder, id);
        Sharing memory sharing = _sharings[id];
        if (sharing.stage != Stage.SOLD || shares == 0) revert NothingToSurrender(id, holder);

        _move(holder, address(0), id, shares);
        if (sharesOf(id) == 0) delete _sharings[id];
        emit Surrendered(id, holder, shares);
        _credit(id, holder, sharing.soldPrice * shares);
    }

    /// @notice How an asset is shared.
    function sharingOf(uint256 id) external view returns (Sharing memory) {
        return _sharings[id];
    }

    /// @notice The offer that stands for an asset, also one that is over and not ended.
    function offerOf(uint256 id) external view returns (Offer memory) {
        return _offers[id];
    }

    /// @notice Base units held for whoever sells or sold shares of an asset.
    function escrowOf(uint256 id) external view returns (uint256) {
        return _offers[id].escrow + uint256(_sharings[id].soldPrice) * sharesOf(id);
    }

    /// @inheritdoc Dividends
    function _earns(uint256 id) internal view override returns (bool) {
        return _sharings[id].stage == Stage.SHARED;
    }

    /// @inheritdoc Dividends
    function _update(address from, address to, uint256[] memory ids, uint256[] memory values)
        internal
        virtual
        override
    {
        for (uint256 i = 0; i < ids.length; i++) {
            address bidder = _offers[ids[i]].bidder;
            if (bidder != address(0) && (from == bidder || to == bidder)) revert BidderLocked(ids[i], bidder);
        }
        super._update(from, to, ids, values);
    }

    /// @dev Ends the offer of an asset, if there is one, in favour of a holder of all shares.
    function _endOffer(uint256 id) internal {
        Offer memory standing = _offers[id];
        if (standing.number != 0) _close(id, standing);
    }

    /// @dev Moves shares as an offer does: past the lock, and without asking a receiver, who asked for them himself.
    function _move(address from, address to, uint256 id, uint256 shares) private {
        uint256[] memory ids = new uint256[](1);
        uint256[] memory values = new uint256[](1);
        (ids[0], values[0]) = (id, shares);
        super._update(from, to, ids, values);
    }

    function _close(uint256 id, Offer memory standing) private {
        delete _offers[id];
        emit Closed(id, standing.number);
        _credit(id, standing.bidder, standing.escrow);
    }

    function _standing(uint256 id, uint64 number) private view returns (Offer memory standing) {
        standing = _offers[id];
        if (number == 0 || standing.number != number) revert NoSuchOffer(id, number);
    }

    /// @dev Whether nobody can accept any more and the bidder is short of the quorum, which then stays so.
    function _isMissed(uint256 id, Offer memory standing) private view returns (bool) {
        return block.timestamp >= standing.acceptUntilS && balanceOf(standing.bidder, id) < _sharings[id].quorumShares;
    }
}

// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

import {ERC721} from "@openzeppelin/contracts/token/ERC721/ERC721.sol";

/// @title Who may do what with one asset: roles that its owner gives, and that end when the owner does.
/// @dev Roles are kept by ownership, a number that every transfer raises, so that a transfer clears them all at once.
abstract contract TokenRoles is ERC721 {
    /// @notice What somebody is to an asset. `OWNER` is whoever holds the token and cannot be given.
    /// `OPERATOR` runs it: describes it, opens its production history, gives and takes the two roles below.
    /// `MAINTAINER` writes its maintenance log.
    /// `VIEWER` may see what is not public; nothing here, but the coordinator asks.
    enum Role {
        OWNER,
        OPERATOR,
        MAINTAINER,
        VIEWER
    }

    /// @notice `account` was given the role at an asset, or lost it.
    event TokenRoleSet(uint256 indexed tokenId, Role indexed role, address indexed account, bool granted);
    /// @notice All roles at an asset ended with its owner's.
    event TokenRolesCleared(uint256 indexed tokenId);

    /// @notice The caller does not hold the role that this needs.
    error LacksTokenRole(uint256 tokenId, Role role, address account);
    /// @notice Who owns an asset is not given but transferred.
    error OwnerIsNoGrant();

    mapping(uint256 tokenId => uint256 number) private _ownerships;
    mapping(uint256 tokenId => mapping(uint256 ownership => mapping(address account => uint256 roles))) private _roles;

    /// @notice Gives `account` a role at an asset, or takes it. By the asset's owner; where the role is not `OPERATOR`,
    /// by an `OPERATOR` as well.
    function setTokenRole(uint256 tokenId, Role role, address account, bool granted) external {
        if (role == Role.OWNER) revert OwnerIsNoGrant();
        if (role == Role.OPERATOR) _requireTokenRole(tokenId, Role.OWNER);
        else _requireOwnerOr(tokenId, Role.OPERATOR);
        _setTokenRole(tokenId, role, account, granted);
    }

    /// @notice Gives up a role of the caller's.
    function renounceTokenRole(uint256 tokenId, Role role) external {
        if (role == Role.OWNER) revert OwnerIsNoGrant();
        _requireTokenRole(tokenId, role);
        _setTokenRole(tokenId, role, msg.sender, false);
    }

    /// @notice Whether `account` holds exactly that role at an asset; the owner holds no role but his own.
    function hasTokenRole(uint256 tokenId, Role role, address account) public view returns (bool) {
        if (role == Role.OWNER) return account != address(0) && _ownerOf(tokenId) == account;
        return _roles[tokenId][_ownerships[tokenId]][account] & _bit(role) != 0;
    }

    function _requireTokenRole(uint256 tokenId, Role role) internal view {
        if (!hasTokenRole(tokenId, role, msg.sender)) revert LacksTokenRole(tokenId, role, msg.sender);
    }

    function _requireOwnerOr(uint256 tokenId, Role role) internal view {
        if (!hasTokenRole(tokenId, Role.OWNER, msg.sender)) _requireTokenRole(tokenId, role);
    }

    /// @inheritdoc ERC721
    function _update(address to, uint256 tokenId, address auth) internal virtual override returns (address from) {
        from = super._update(to, tokenId, auth);
        _ownerships[tokenId]++;
        if (from != address(0)) emit TokenRolesCleared(tokenId);
    }

    function _setTokenRole(uint256 tokenId, Role role, address account, bool granted) private {
        mapping(address => uint256) storage roles = _roles[tokenId][_ownerships[tokenId]];
        roles[account] = granted ? roles[account] | _bit(role) : roles[account] & ~_bit(role);
        emit TokenRoleSet(tokenId, role, account, granted);
    }

    function _bit(Role role) private pure returns (uint256) {
        return 1 << uint256(role);
    }
}
